"""Native tests: python3 -m unittest"""

import json
import unittest

import fake_host

import plugin

SALES = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"


def route(target):
    fake_host.request(target)
    fake_host.answers["config.document"] = json.dumps({"names": {"sales": SALES}})
    return plugin.Routing().route()


class Names(unittest.TestCase):
    def test_names_lead_to_content(self):
        forward = route("/sales/2026").value
        self.assertEqual(forward.target, f"content:{SALES}")
        self.assertEqual(forward.rewrite, plugin.Rewrite_StripSegments(1))

    def test_a_name_alone_gets_its_slash(self):
        reply = route("/sales?page=2").value
        self.assertEqual((reply.status, reply.headers), (308, [("location", b"/sales/?page=2")]))

    def test_other_requests_cost_one_question(self):
        self.assertEqual(route("/salesforce/"), plugin.Decision_Next())
        self.assertEqual(fake_host.asked, ["request.path_prefix", "config.document"])

    def test_one_content_item_has_one_name(self):
        fake_host.request("/")
        fake_host.answers["config.document"] = json.dumps({"names": {"a": "1", "b": "1"}})
        with self.assertRaises(fake_host.Err) as raised:
            plugin.Lifecycle().check()
        self.assertIn("a and b", raised.exception.value.value)


if __name__ == "__main__":
    unittest.main()
