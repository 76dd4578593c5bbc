"""The browser app: films dropped on a page are read here, in memory, and forgotten when the page is left."""
