//! What a store's answer means for whoever asked.

use std::error::Error;

use crate::causes::in_one_line;

/// Words in an answer, or in why there is none, and what to do.
const KNOWN: [(&str, &str); 16] = [
    (
        "UnknownIssuer",
        "the server's certificate was signed by an authority that is not trusted here: name that authority's own \
         certificate, a PEM file, in AWS_CA_BUNDLE; movers are given it too",
    ),
    (
        "not valid for name",
        "the server's certificate is for another name: give one of its names in AWS_ENDPOINT_URL",
    ),
    (
        "invalid peer certificate",
        "the server's certificate is no good: have it renewed, and see that the clocks are right",
    ),
    (
        "tunnel error",
        "the proxy of HTTPS_PROXY does not let us through: correct it, or name the server in NO_PROXY",
    ),
    (
        "Server failed to authenticate the request",
        "the account does not know the key or token, or it is over: correct AZURE_STORAGE_KEY or \
         AZURE_STORAGE_SAS_TOKEN, and see that the clocks are right",
    ),
    (
        "AuthorizationPermissionMismatch",
        "the identity is good and may not do this: give it the role Storage Blob Data Contributor; Storage Blob \
         Data Reader is enough to restore",
    ),
    (
        "invalid_grant",
        "the service account's key was revoked, or the clock is wrong: make a new key for \
         GOOGLE_APPLICATION_CREDENTIALS",
    ),
    (
        "RequestTimeTooSkewed",
        "the clock of this machine and that of the server differ by more than 15 minutes: set them right",
    ),
    (
        "InvalidAccessKeyId",
        "the server does not know the key: correct AWS_ACCESS_KEY_ID, AWS_PROFILE, or AWS_ENDPOINT_URL",
    ),
    (
        "SignatureDoesNotMatch",
        "the secret is not that of the key: correct AWS_SECRET_ACCESS_KEY, or the profile's",
    ),
    (
        "ExpiredToken",
        "the session is over: get new temporary keys, AWS_SESSION_TOKEN among them",
    ),
    (
        "InvalidToken",
        "AWS_SESSION_TOKEN is not that of these keys, or over: get new temporary keys, or unset it",
    ),
    (
        "AccessDenied",
        "the keys are good and may not do this: reading and listing is enough to restore, writing as well to save; \
         to forget, prune and unlock, and to undo, Ferry also deletes",
    ),
    (
        "Content-MD5 OR x-amz-checksum",
        "the bucket keeps its objects for a time (Object Lock) and wants a checksum with each: set \
         AWS_CHECKSUM_ALGORITHM=sha256",
    ),
    (
        "AuthorizationHeaderMalformed",
        "the bucket is in another region: correct AWS_REGION",
    ),
    (
        "PermanentRedirect",
        "the bucket is in another region: correct AWS_REGION",
    ),
];

/// The next step, as an instruction; `None` where the answer has none of the known words.
pub(crate) fn advice(error: &dyn Error) -> Option<&'static str> {
    let text = in_one_line(error);
    let known = KNOWN.iter().find(|(word, _)| text.contains(word));
    known.map(|(_, advice)| *advice)
}
