"""How encoders learn: what is shown to them, what is asked of them, the steps between. How many workers do it is `onray/`'s matter."""
