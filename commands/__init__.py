"""One module a command; each has ``run(config)``, called by the command line with the resolved config."""
