"""Attribution: the one loop that evaluates input gradients, and the methods that feed it points and
combine what comes out."""
