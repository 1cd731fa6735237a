import CPawl

/// Whose credential. No scope sees another.
public struct Scope: Sendable, Hashable, Codable {
    /// 1 to 256 bytes of UTF-8 without NUL.
    public var user: String
    /// 0 to 256 bytes of UTF-8 without NUL.
    public var project: String

    /// The scope of a user, or of one project of a user.
    public init(user: String, project: String = "") {
        self.user = user
        self.project = project
    }

    /// Lends the scope as C knows it.
    func withC(_ body: (inout pawl_scope) -> pawl_status) -> pawl_status {
        withBytes(of: user) { user, userSize in
            withBytes(of: project) { project, projectSize in
                var scope = pawl_scope.sized()
                scope.user = user
                scope.user_size = userSize
                scope.project = project
                scope.project_size = projectSize
                return body(&scope)
            }
        }
    }
}

/// One version of a credential: a secret, and the metadata of the same version.
@dynamicMemberLookup
public struct Credential: Sendable, Hashable {
    /// Everything about the version but its secret.
    public let metadata: Metadata
    /// The secret: 0 bytes to 16 MiB.
    public let secret: Secret

    /// A field of the metadata.
    public subscript<Value>(dynamicMember field: KeyPath<Metadata, Value>) -> Value {
        metadata[keyPath: field]
    }

    /// Combines the metadata, never the secret.
    public func hash(into hasher: inout Hasher) { metadata.hash(into: &hasher) }

    /// One version of a credential without its secret.
    public struct Metadata: Sendable, Hashable {
        /// What it is called in its scope.
        public let name: String
        /// Greater than that of every write before it in the same store.
        public let version: UInt64
        /// When the first version was written.
        public let created: Timestamp
        /// When this version was written.
        public let updated: Timestamp
        /// From when on it counts as absent; nil: it does not expire.
        public let expires: Timestamp?
        /// Until when a deleted version can be restored; nil unless deleted.
        public let purge: Timestamp?
        /// A text for people; may be empty.
        public let label: String
        /// Who issued the secret; may be empty.
        public let provider: String
        /// Whatever else the host wants to know about it.
        public let attributes: [String: String]
        /// The size of the secret in bytes.
        public let secretSize: Int
        /// Whether it is deleted and can be restored until ``purge``.
        public let isDeleted: Bool
        /// Whether the secret lives in the host's vault.
        public let isInVault: Bool
    }
}

/// How a put treats what is there, and which metadata it writes.
public struct PutOptions: Sendable, Hashable {
    /// Under which condition to write.
    public enum Condition: Sendable, Hashable {
        /// Create or replace.
        case always
        /// Only if there is none: ``PawlError/Code/exists``.
        case absent
        /// Only if this is the current version: ``PawlError/Reason/stateConflict``.
        case version(UInt64)
    }

    /// What becomes of the expiry.
    public enum Expiry: Sendable, Hashable {
        /// As it was; a new credential does not expire.
        case keep
        /// Does not expire any more.
        case clear
        /// Expires at a point in time, which must lie in the future: ``PawlError/Code/time``.
        case at(Timestamp)
    }

    /// Under which condition to write.
    public var condition: Condition
    /// What becomes of the expiry.
    public var expiry: Expiry
    /// 0 to 256 bytes; nil keeps what is there, empty clears it.
    public var label: String?
    /// 0 to 256 bytes; nil keeps what is there, empty clears it.
    public var provider: String?
    /// At most 64, keys of 1 to 128 bytes, values of 0 to 512; nil keeps what is there.
    public var attributes: [String: String]?

    /// Options; by default a put creates or replaces and keeps everything but the secret.
    public init(
        _ condition: Condition = .always, expiry: Expiry = .keep, label: String? = nil,
        provider: String? = nil, attributes: [String: String]? = nil
    ) {
        self.condition = condition
        self.expiry = expiry
        self.label = label
        self.provider = provider
        self.attributes = attributes
    }

    /// Lends the options as C knows them.
    func withC(_ body: (inout pawl_put_options) -> pawl_status) -> pawl_status {
        // All attribute texts lie in one buffer, so that one pointer keeps them alive.
        let pairs = (attributes ?? [:]).map { (Array($0.utf8), Array($1.utf8)) }
        let texts = pairs.flatMap { $0 + $1 }
        return texts.withUnsafeBytes { texts in
            var offset = 0
            func next(_ count: Int) -> UnsafeRawPointer? {
                defer { offset += count }
                return texts.baseAddress.map { $0 + offset }
            }
            let entries = pairs.map { key, value in
                pawl_attribute(
                    key: next(key.count), key_size: key.count,
                    value: next(value.count), value_size: value.count)
            }
            return withBytes(of: label ?? "") { label, labelSize in
                withBytes(of: provider ?? "") { provider, providerSize in
                    entries.withUnsafeBufferPointer { entries in
                        var options = pawl_put_options.sized()
                        options.flags = UInt32(flags)
                        if case .version(let version) = condition { options.if_version = version }
                        if case .at(let time) = expiry { options.expires_ns = time.nanoseconds }
                        options.label = label
                        options.label_size = labelSize
                        options.provider = provider
                        options.provider_size = providerSize
                        options.attributes = entries.baseAddress
                        options.attribute_count = entries.count
                        return body(&options)
                    }
                }
            }
        }
    }

    private var flags: Int32 {
        var flags: Int32 = 0
        switch condition {
        case .always: break
        case .absent: flags |= PAWL_PUT_CREATE_ONLY
        case .version: flags |= PAWL_PUT_IF_VERSION
        }
        switch expiry {
        case .keep: break
        case .clear: flags |= PAWL_PUT_CLEAR_EXPIRY
        case .at: flags |= PAWL_PUT_SET_EXPIRY
        }
        if label != nil { flags |= PAWL_PUT_SET_LABEL }
        if provider != nil { flags |= PAWL_PUT_SET_PROVIDER }
        if attributes != nil { flags |= PAWL_PUT_SET_ATTRIBUTES }
        return flags
    }
}
