"""The steward: keeps the loop from feedback to a better release going, unattended.

Pure: `turn` (the state machine), `policy` (which rung), `state`, `messages`. Around them, still without Ray: `keeper`
asks the machine and does as it says, through `watch` (what users do), `rollout_change`, `process` (a step's command)
and `record` (the turn's memory). `actors.steward` is the process that it lives in.
"""
