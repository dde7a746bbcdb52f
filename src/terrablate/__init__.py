"""terrablate: which training trick helps on Earth-observation images, and is the model overfitting?"""
