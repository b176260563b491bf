"""What callers send and get back, as values: named tensors, texts and chats; nothing here knows a base model."""
