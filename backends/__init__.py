"""With whom: the outside world behind Protocols."""
