"""The console's addresses: each parses, calls one thing of the front's services, and renders a page."""
