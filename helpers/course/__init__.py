"""Running the notebooks, handing them out, marking what comes back."""
