// A shared library that knows nothing of Plumb.
extern "C" __attribute__((visibility("default"))) int answer() { return 42; }
