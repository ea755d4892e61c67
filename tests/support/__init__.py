"""What tests build their inputs with: real servers, real packages, a real engine. Nothing here asserts."""
