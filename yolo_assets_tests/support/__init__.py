"""What tests of several packages share: small real models, frames to run them on. No test lives here."""
