"""What a network is made of before anyone shares anything: stages, who reads whom, and the one walk over them."""
