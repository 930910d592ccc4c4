"""Where statements run: SQLite in threads or in the caller, MariaDB or MySQL over the network."""
