"""The pages for people: find, read, publish and manage, in a browser, with or without script."""
