"""Gets frames back out: what is wanted, where it lies, where it goes. Every hash is checked on the way."""
