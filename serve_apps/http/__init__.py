"""HTTP: routes, schemas, request parsing, responses, errors, the OpenAPI document, the page."""
