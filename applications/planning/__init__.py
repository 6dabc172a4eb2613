"""From a folder of images to a commented INI file: what is there, what it is for, and what follows from its numbers."""
