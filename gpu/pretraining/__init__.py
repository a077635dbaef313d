"""How the project's own backbones are made: rendered images, teachers, and what is learned from both."""
