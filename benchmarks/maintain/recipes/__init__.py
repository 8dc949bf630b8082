"""How the recipes of ``birnn train`` are chosen, and docs/recipes.md, which says so."""
