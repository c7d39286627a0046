"""The lowest versions that requirements.txt admits, ipywidgets 7.7.1 among them: Colab's notebooks and the tests, in a clean environment."""
