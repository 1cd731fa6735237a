// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

// The plugin is needed only to build the documentation, so consumers never fetch it.
let documentation: [Package.Dependency] =
    Context.environment["PAWL_DOCS"] == nil
    ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0")]

let package = Package(
    name: "pawl",
    platforms: [.macOS(.v26)],
    products: [.library(name: "Pawl", targets: ["Pawl"])],
    dependencies: documentation,
    targets: [
        .systemLibrary(
            name: "CSodium", pkgConfig: "libsodium",
            providers: [.apt(["libsodium-dev"]), .brew(["libsodium"])]),
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3",
            providers: [.apt(["libsqlite3-dev"]), .brew(["sqlite"])]),
        .systemLibrary(name: "CPlatform"),
        .systemLibrary(name: "CPawl", path: "Include"),

        .target(name: "PawlCrypto", dependencies: ["CSodium"], swiftSettings: settings),
        .target(name: "PawlCore", dependencies: ["PawlCrypto"], swiftSettings: settings),
        .target(
            name: "PawlStore", dependencies: ["PawlCrypto", "CSQLite", "CPlatform"],
            swiftSettings: settings),
        .target(
            name: "PawlEngine",
            dependencies: ["PawlCore", "PawlStore", "PawlCrypto", "CPlatform"],
            swiftSettings: settings),
        .target(
            name: "PawlABI",
            dependencies: [
                "PawlEngine", "PawlStore", "PawlCore", "PawlCrypto", "CPawl", "CPlatform",
            ],
            swiftSettings: settings),
        .target(name: "Pawl", dependencies: ["PawlABI", "CPawl"], swiftSettings: settings),

        .testTarget(
            name: "CoreTests",
            dependencies: [
                "PawlCrypto", "PawlCore", "PawlStore", "PawlEngine", "PawlABI", "CPawl", "CSodium",
                "CPlatform",
            ],
            swiftSettings: settings),
        .testTarget(name: "PawlTests", dependencies: ["Pawl"], swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
