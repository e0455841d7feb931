"""Lists of ids: read as people have them, asked on the sandbox, audited and rebuilt."""
