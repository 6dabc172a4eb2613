"""Names that may be chosen, free of Keras, so that every room can read them."""
