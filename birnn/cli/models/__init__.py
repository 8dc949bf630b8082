"""The commands about models: training one, asking one, and looking into one."""
