import CSodium
import Foundation

/// Random numbers that a seed gives again.
struct Dice: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// Once in `count` times.
    mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }

    mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &self) }

    mutating func pick<T>(_ items: [T]) -> T { items[below(items.count)] }
}

/// What libsodium draws on this thread comes from a seed, while one is set; on all others from the system.
enum SeededSodium {
    private final class Source {
        var dice: Dice
        init(_ seed: UInt64) { dice = Dice(seed) }
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    private static let isInstalled: Bool = {
        _ = key
        let table = UnsafeMutablePointer<randombytes_implementation>.allocate(capacity: 1)
        table.initialize(
            to: randombytes_implementation(
                implementation_name: { nil },
                random: {
                    var word: UInt32 = 0
                    SeededSodium.fill(&word, 4)
                    return word
                }, stir: nil, uniform: nil, buf: { SeededSodium.fill($0, $1) }, close: nil))
        return randombytes_set_implementation(table) == 0
    }()

    static func run<R>(_ seed: UInt64, _ body: () throws -> R) rethrows -> R {
        precondition(isInstalled)
        let source = Source(seed)
        return try withExtendedLifetime(source) {
            let outer = pthread_getspecific(key)
            pthread_setspecific(key, Unmanaged.passUnretained(source).toOpaque())
            defer { pthread_setspecific(key, outer) }
            return try body()
        }
    }

    private static func fill(_ out: UnsafeMutableRawPointer?, _ count: Int) {
        guard let out else { return }
        let bytes = UnsafeMutableRawBufferPointer(start: out, count: count)
        if let source = pthread_getspecific(key) {
            let source = Unmanaged<Source>.fromOpaque(source).takeUnretainedValue()
            return fill(bytes, &source.dice)
        }
        var system = SystemRandomNumberGenerator()
        fill(bytes, &system)
    }

    private static func fill(
        _ bytes: UnsafeMutableRawBufferPointer, _ generator: inout some RandomNumberGenerator
    ) {
        for start in stride(from: 0, to: bytes.count, by: 8) {
            let word = generator.next()
            withUnsafeBytes(of: word) {
                let size = min(8, bytes.count - start)
                bytes.baseAddress?.advanced(by: start).copyMemory(
                    from: $0.baseAddress!, byteCount: size)
            }
        }
    }
}
