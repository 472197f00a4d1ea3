"""Tell female from male in a picture of a face: train a small network, label whole folders."""
