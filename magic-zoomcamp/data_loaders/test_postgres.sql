-- The connection of the profile `dev` answers.
SELECT 1 AS answer
