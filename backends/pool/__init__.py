"""The controller's side of the workers: environments, processes, questions, answers, and files exchanged."""
