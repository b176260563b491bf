"""Pages for people, in a browser: server-rendered, over the same services as the API, with the caller's own rights."""
