"""Mirror OpenAI fine-tuning history into a SQL database."""

__version__ = "0.1.0"
