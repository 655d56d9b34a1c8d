"""The whole deployment under load while its parts are killed, frozen and cut off."""
