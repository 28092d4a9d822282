"""How fast fastcos is, next to what the machine can do and to what else there is."""
