"""The steward's judgement: which step a turn takes next. Pure; `actors.steward` carries it out."""
