"""Which recipes fit a card, told without one."""
