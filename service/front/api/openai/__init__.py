"""OpenAI's API over the same services: its words for what is asked, for answers and for errors."""
