"""lit test format: every built unit test is a test, and its exit status decides."""
import os

import lit.formats
import lit.Test
import lit.util


class UnitTests(lit.formats.TestFormat):
    def getTestsInDirectory(self, testSuite, path_in_suite, litConfig, localConfig):
        folder = localConfig.unit_dir
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            if name.startswith("test_"):
                test = lit.Test.Test(testSuite, path_in_suite + (name,), localConfig)
                # lit runs in the order of recorded times. Without a record the longest tests, which
                # are among these, begin before the others, that no core waits for one of them at
                # the end.
                test.previous_elapsed = test.previous_elapsed or 1
                yield test

    def execute(self, test, litConfig):
        program = os.path.join(test.config.unit_dir, test.path_in_suite[-1])
        out, err, code = lit.util.executeCommand([program], env=test.config.environment)
        return (lit.Test.PASS if code == 0 else lit.Test.FAIL), "exit %d\n%s%s" % (code, out, err)
