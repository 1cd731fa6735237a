/// All of something that a store lists by the page.
///
/// The store is asked for a page at a time: what others write meanwhile may or may not be seen, and
/// each element is seen as one version. Cancelling the task does not end the sequence.
public struct Pages<Element: Sendable>: AsyncSequence, Sendable {
    typealias Read = @Sendable (_ after: Element?) async throws(PawlError) -> [Element]

    let size: Int
    let read: Read

    init(of size: Int, _ read: @escaping Read) {
        self.size = size
        self.read = read
    }

    /// Starts from the beginning.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pages: self) }

    /// One pass over the elements.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let pages: Pages
        private var page: ArraySlice<Element> = []
        private var last: Element?
        private var isLastPage = false

        init(pages: Pages) { self.pages = pages }

        /// The next element, or nil after the last.
        ///
        /// - Throws: what the method that lists one page does; the sequence then ends.
        public mutating func next(
            isolation actor: isolated (any Actor)? = #isolation
        ) async throws(PawlError) -> Element? {
            if page.isEmpty && !isLastPage {
                isLastPage = true
                let elements = try await pages.read(last)
                isLastPage = elements.count < pages.size
                last = elements.last
                page = elements[...]
            }
            return page.popFirst()
        }
    }
}
