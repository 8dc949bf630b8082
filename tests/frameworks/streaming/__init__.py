"""A streamed model: what it answers by the equations, and what the frameworks answer."""
