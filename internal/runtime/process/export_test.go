package process

// ParseLine is parseLine for the fuzz test.
var ParseLine = parseLine

// Alternatives is alternatives for tests.
var Alternatives = alternatives
