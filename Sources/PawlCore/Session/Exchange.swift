package import PawlCrypto

/// What a round draws and computes beside the rules: libsodium's work, given from outside because it is random.
package protocol Exchange {
    /// Secret ‖ public key.
    func draw(_ suite: Suite) throws(Failure) -> SecretBuffer
    /// Ciphertext ‖ shared secret.
    func encapsulate(_ suite: Suite, to key: Bytes) throws(Failure) -> SecretBuffer
    func decapsulate(
        _ suite: Suite, _ ciphertext: Bytes, pair: Bytes
    ) throws(Failure) -> SecretBuffer
}
