"""The files in which data sets are kept: records, shards, pictures as bytes; each read within bounds."""
