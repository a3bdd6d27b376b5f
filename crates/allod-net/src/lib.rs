//! Carries bytes between identities, whatever lies between them: for now the ingress, the published ports and the service resolver.
//!
//! It never knows what a transaction means: routes and names are handed to it as values.
