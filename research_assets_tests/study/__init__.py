"""Study files: accepted files, rejected files and their messages."""
