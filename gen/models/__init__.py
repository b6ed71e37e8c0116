"""The networks: region encoder, conditioner, decoder, and the pipeline that holds them."""
