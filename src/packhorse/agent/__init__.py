"""What runs on the compute node: claims blocks of a spool, executes their tasks, measures them and keeps the journal.

Standard library only, Python 3.6 or newer, and only relative imports: the folder is shipped as one zipapp in which it
is called `agent`. The contract with the engine is docs/spool.md.

Two kinds of process. The *supervisor* (supervisor/) is a loop over parts that claims, packs, watches and journals.
*Slots* (slot/) are small processes of which each runs one task at a time: starting a process from a small process is
cheap, and a slot can wait for its task, account for it and end its descendants without the others noticing.
Beside them, *background jobs* (background/) are long work at a site that needs no allocation. The modules here are for
all of them.
"""

PROTOCOL = 1
