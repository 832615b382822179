"""Ways of training the model of any config in less memory, put together of parts."""
