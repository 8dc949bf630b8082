"""How the files of this test were made: by the frameworks themselves, with what their layers answered."""
