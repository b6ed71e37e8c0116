"""Networks of the SAM family: everything in a picture, or what points, boxes or names ask for, as regions."""
