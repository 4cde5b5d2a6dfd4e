package process

// Alternatives is alternatives for tests.
var Alternatives = alternatives
