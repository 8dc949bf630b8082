"""What one framework alone has, or is asked."""
